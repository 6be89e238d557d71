-- Asks one of the hosts given as arguments, at random, and prints what came of it as JSON.
local hosts, path, close = {}, "/", false
local counter = 0

function setup(thread)
   counter = counter + 1
   thread:set("number", counter)
end

function init(arguments)
   path, close = arguments[1], arguments[2] == "close"
   for position = 3, #arguments do hosts[#hosts + 1] = arguments[position] end
   math.randomseed(os.time() * 64 + number)
end

function request()
   local headers = { Host = hosts[math.random(#hosts)] }
   if close then headers["Connection"] = "close" end
   return wrk.format("GET", path, headers)
end

function done(summary, latency, requests)
   local errors, parts = summary.errors, {}
   for _, share in ipairs({ 50, 66, 75, 80, 90, 95, 98, 99, 99.9 }) do
      parts[#parts + 1] = string.format('"p%g": %.3f', share, latency:percentile(share) / 1000)
   end
   io.write(string.format(
      '\nJSON {"requests": %d, "seconds": %.3f, "failed": %d, "ms": {%s, "max": %.3f}}\n',
      summary.requests, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      table.concat(parts, ", "), latency.max / 1000))
end

"""What is wanted: values and rules of site, tenant, runtime and node files. Text in, specs out, no I/O."""

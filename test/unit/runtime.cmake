weir_test(unit_discovery SOURCES test/unit/runtime/discovery.c test/unit/runtime/turns.c LINK weir_runtime)

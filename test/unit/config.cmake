weir_test(unit_config_load SOURCES test/unit/config/load.c LINK weir_runtime)

weir_test(unit_config_load SOURCES test/unit/config/load.c LINK weir_runtime)
weir_test(unit_toml SOURCES test/unit/config/toml.c LINK weir_runtime)
weir_test(unit_config_tables SOURCES test/unit/config/tables.c LINK weir_runtime)
weir_test(unit_config_dump SOURCES test/unit/config/dump.c LINK weir_runtime)

weir_test(unit_wprs_basic SOURCES test/unit/parsers/basic.c LINK weir_parsers weir_base)

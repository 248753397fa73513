weir_test(unit_buf SOURCES test/unit/base/buf.c LINK weir_base)

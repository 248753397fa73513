weir_test(unit_wire_captured SOURCES test/unit/wire/captured.c test/unit/wire/vectors.c LINK weir_wire)

weir_test(unit_wprs_basic SOURCES test/unit/parsers/basic.c LINK weir_parsers weir_base)
weir_test(model_wprs_cases SOURCES test/unit/parsers/cases.c test/unit/parsers/collect.c
          LINK weir_parsers weir_base LABELS model)
weir_test(model_wprs_property SOURCES test/unit/parsers/property.c test/unit/parsers/render.c
          test/unit/parsers/collect.c LINK weir_parsers weir_base LABELS model)
weir_test(unit_wprs_values SOURCES test/unit/parsers/values.c LINK weir_parsers weir_base)
weir_test(unit_wprs_torture SOURCES test/unit/parsers/torture.c LINK weir_parsers weir_base)

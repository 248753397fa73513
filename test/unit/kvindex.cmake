weir_test(unit_kvi_hash SOURCES test/unit/kvindex/hash.c LINK weir_kvindex weir_base)
weir_test(model_kvi_index SOURCES test/unit/kvindex/model.c test/unit/kvindex/naive.c LINK weir_kvindex weir_base LABELS model)
weir_test(unit_kvi_persist SOURCES test/unit/kvindex/persist.c LINK weir_kvindex weir_base)
weir_test(unit_kvi_gap SOURCES test/unit/kvindex/gap.c LINK weir_kvindex weir_base)
weir_test(unit_kvi_approx SOURCES test/unit/kvindex/approx.c LINK weir_kvindex weir_base)
weir_test(stress_kvi_index SOURCES test/unit/kvindex/stress.c LINK weir_kvindex weir_base LABELS stress)
add_test(NAME unit_kvi_external COMMAND ${CMAKE_SOURCE_DIR}/test/unit/kvindex/external/run.sh
         ${CMAKE_BINARY_DIR} ${CMAKE_C_COMPILER} "${WEIR_SANITIZE}")
set_tests_properties(unit_kvi_external PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 60)

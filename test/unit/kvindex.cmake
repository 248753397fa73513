weir_test(unit_kvi_hash SOURCES test/unit/kvindex/hash.c LINK weir_kvindex weir_base)
weir_test(model_kvi_index SOURCES test/unit/kvindex/model.c test/unit/kvindex/naive.c LINK weir_kvindex weir_base LABELS model)

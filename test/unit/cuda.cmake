weir_test(unit_kvc_hash SOURCES test/unit/cuda/hash.c LINK weir_kvc weir_kvindex weir_base)
weir_test(unit_kvc_table SOURCES test/unit/cuda/table.c LINK weir_kvc weir_router weir_kvindex weir_base)

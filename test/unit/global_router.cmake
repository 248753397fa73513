weir_test(unit_global_select SOURCES test/unit/global_router/select.c LINK weir_global_router)
weir_test(unit_global_pools SOURCES test/unit/global_router/pools.c LINK weir_global_router)

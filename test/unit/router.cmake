weir_test(unit_cost SOURCES test/unit/router/cost.c LINK weir_router)
weir_test(unit_router SOURCES test/unit/router/router.c LINK weir_router LABELS "unit;stress")
weir_test(unit_pools SOURCES test/unit/router/pools.c LINK weir_router)
weir_test(unit_router_model SOURCES test/unit/router/model.c LINK weir_router)

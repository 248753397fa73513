weir_test(unit_admission SOURCES test/unit/frontend/admission.c LINK weir_frontend LABELS "unit;stress")
weir_test(unit_queue_classes SOURCES test/unit/frontend/queue_classes.c LINK weir_frontend)
weir_test(unit_explain SOURCES test/unit/frontend/explain.c LINK weir_frontend)
weir_test(unit_parity SOURCES test/unit/frontend/parity.c LINK weir_frontend)

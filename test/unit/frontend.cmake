weir_test(unit_admission SOURCES test/unit/frontend/admission.c LINK weir_frontend LABELS "unit;stress")

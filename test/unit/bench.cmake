weir_test(unit_bench_hist SOURCES test/unit/bench/hist.c LINK weir_bench)
weir_test(unit_bench_plan SOURCES test/unit/bench/plan.c LINK weir_bench)
weir_test(unit_bench_report SOURCES test/unit/bench/report.c LINK weir_bench)
weir_test(unit_bench_prefix_sim SOURCES test/unit/bench/prefix_sim.c LINK weir_bench weir_worker)

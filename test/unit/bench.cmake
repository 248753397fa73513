weir_test(unit_bench_hist SOURCES test/unit/bench/hist.c LINK weir_bench)
weir_test(unit_bench_plan SOURCES test/unit/bench/plan.c LINK weir_bench)
weir_test(unit_bench_report SOURCES test/unit/bench/report.c LINK weir_bench)
weir_test(unit_bench_prefix_sim SOURCES test/unit/bench/prefix_sim.c LINK weir_bench weir_worker)
weir_test(unit_bench_load SOURCES test/unit/bench/load.c LINK weir_bench)
# Two workers and 200 conversations: KV routing against the best possible, by the workers' counters.
# Without options, at a human pace, the share is 0.97; this shorter form leaves room for a busy machine.
add_test(NAME e2e_hitrate COMMAND bench_hitrate --weir $<TARGET_FILE:weir> --concurrency 40
         --think exponential:500 --require 0.9 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(e2e_hitrate PROPERTIES LABELS "e2e;slow" TIMEOUT 1500)
# The command as people run it, against real processes.
add_test(NAME e2e_bench COMMAND python3 ${CMAKE_SOURCE_DIR}/test/unit/bench/command.py $<TARGET_FILE:weir>
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(e2e_bench PROPERTIES LABELS e2e TIMEOUT 1500)
# Events of one thread and routes of another one; no event may be lost. Nothing that it times is asserted.
add_test(NAME stress_flood COMMAND bench_flood --seconds 1 --events-s 50000 --workers 8
         WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
set_tests_properties(stress_flood PROPERTIES LABELS stress TIMEOUT 1500)

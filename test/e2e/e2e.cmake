# Each test_*.py is one ctest entry, so that they run side by side and name what failed.
file(GLOB e2e_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/test/e2e/test_*.py)
foreach(file ${e2e_files})
  get_filename_component(name ${file} NAME_WE)
  string(REPLACE "test_" "e2e_" name ${name})
  set(runner run)
  if(name STREQUAL "e2e_partitions")
    set(runner run-apart)
  endif()
  add_test(NAME ${name} COMMAND ${CMAKE_SOURCE_DIR}/test/e2e/${runner} $<TARGET_FILE:weir> ${file}
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT 1500)
endforeach()
# Some two minutes for 845 exchanges: not under the sanitizers, and first, so that nothing waits for it.
set_tests_properties(e2e_recorded PROPERTIES LABELS "e2e;slow" COST 100)
# The same grids as in unit_kvc_replay, at the length of a trace: minutes under the sanitizers.
set_tests_properties(e2e_replay_grid PROPERTIES LABELS "e2e;slow")
# Half a minute of one core: a fleet's day in eight ways.
set_tests_properties(e2e_replay_fleet PROPERTIES LABELS "e2e;slow" COST 50 TIMEOUT 1200)
# Two minutes of waiting, little of work, in a network of its own.
set_tests_properties(e2e_partitions PROPERTIES LABELS "e2e;slow")
# Those that take longest begin first, so that none of them is alone at the end: about their seconds.
foreach(cost partitions:130 faults:70 chaos:40 durable:60 etcd:60 engine_dialects:30 nats:30 engines:25 kube:25)
  string(REPLACE ":" ";" cost ${cost})
  list(GET cost 0 name)
  list(GET cost 1 seconds)
  set_tests_properties(e2e_${name} PROPERTIES COST ${seconds})
endforeach()
# Against a real Dynamo; skips unless WEIR_INTEROP=1, as it fetches some 200 MB.
foreach(name dynamo deepseek embeddings etcd kube http diff durable media)
  add_test(NAME interop_${name}
           COMMAND ${CMAKE_SOURCE_DIR}/test/e2e/run $<TARGET_FILE:weir>
                   ${CMAKE_SOURCE_DIR}/test/e2e/interop_${name}.py
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(interop_${name} PROPERTIES LABELS "interop" SKIP_RETURN_CODE 77 TIMEOUT 1500)
endforeach()
set_tests_properties(interop_dynamo PROPERTIES COST 120)
set_tests_properties(interop_http PROPERTIES COST 60)

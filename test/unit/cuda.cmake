weir_test(unit_kvc_hash SOURCES test/unit/cuda/hash.c LINK weir_kvc weir_kvindex weir_base)
weir_test(unit_kvc_table SOURCES test/unit/cuda/table.c LINK weir_kvc weir_router weir_kvindex weir_base)
weir_test(unit_kvc_decide SOURCES test/unit/cuda/decide.c LINK weir_bench weir_kvc weir_router weir_base)
weir_test(unit_kvc_replay SOURCES test/unit/cuda/replay.c LINK weir_bench weir_kvc weir_router weir_kvindex weir_base)
# The same programs on the device; they skip where there is none.
if(WEIR_CUDA)
  foreach(name hash table replay decide)
    add_test(NAME gpu_kvc_${name} COMMAND unit_kvc_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(gpu_kvc_${name} PROPERTIES LABELS gpu SKIP_RETURN_CODE 77 TIMEOUT 300
      ENVIRONMENT "WEIR_TEST_DEVICE=cuda;WEIR_CUDA_PLUGIN=$<TARGET_FILE:weir_cuda>")
  endforeach()
endif()
# And on an emulated one, which runs the device's own text everywhere (fibers and sanitizers do not
# go together).
if(NOT WEIR_SANITIZE)
  file(GLOB devices CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cuda/*.cu)
  set(emulated ${CMAKE_SOURCE_DIR}/test/unit/cuda/emulated)
  set(emulated_sources ${emulated}/emulate.cc)
  foreach(source ${devices})
    cmake_path(GET source STEM stem)
    set(out ${CMAKE_BINARY_DIR}/test/emulated/${stem}.cc)
    add_custom_command(OUTPUT ${out} DEPENDS ${source} ${emulated}/emulate.py VERBATIM
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/test/emulated
      COMMAND python3 ${emulated}/emulate.py ${source} ${out})
    list(APPEND emulated_sources ${out})
  endforeach()
  add_library(weir_cuda_emulated SHARED ${emulated_sources})
  target_include_directories(weir_cuda_emulated BEFORE PRIVATE ${emulated} ${CMAKE_SOURCE_DIR})
  target_compile_options(weir_cuda_emulated PRIVATE -fvisibility=hidden -ffp-contract=off -Wall -Wextra -Wno-unused-function -Wno-unknown-pragmas)
  set_target_properties(weir_cuda_emulated PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  foreach(name hash table replay decide)
    add_test(NAME emulated_kvc_${name} COMMAND unit_kvc_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(emulated_kvc_${name} PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 300
      ENVIRONMENT "WEIR_TEST_DEVICE=cuda;WEIR_CUDA_PLUGIN=$<TARGET_FILE:weir_cuda_emulated>")
  endforeach()
  weir_test(emulated_kvc_faults SOURCES test/unit/cuda/faults.c LINK weir_kvc weir_base)
  set_tests_properties(emulated_kvc_faults PROPERTIES ENVIRONMENT "WEIR_CUDA_PLUGIN=$<TARGET_FILE:weir_cuda_emulated>")
  add_dependencies(emulated_kvc_faults weir_cuda_emulated)
endif()

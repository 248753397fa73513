weir_fuzz(fuzz_toml SOURCES test/fuzz/fuzz_toml.c CORPUS test/fuzz/corpus/toml LINK weir_runtime)
weir_fuzz(fuzz_config SOURCES test/fuzz/fuzz_config.c CORPUS test/fuzz/corpus/config
          LINK weir_runtime)
weir_fuzz(fuzz_yaml SOURCES test/fuzz/fuzz_yaml.c CORPUS test/fuzz/corpus/yaml LINK weir_runtime)
weir_fuzz(fuzz_kube SOURCES test/fuzz/fuzz_kube.c CORPUS test/fuzz/corpus/kube LINK weir_runtime STRUCTURED)

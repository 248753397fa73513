weir_test(unit_discovery SOURCES test/unit/runtime/discovery.c test/unit/runtime/turns.c LINK weir_runtime)
target_link_options(unit_discovery PRIVATE -Wl,--wrap=open,--wrap=read,--wrap=readdir,--wrap=inotify_init1) # they fail where a case says so
weir_test(unit_plane_client
  SOURCES test/unit/runtime/plane_client.c test/unit/runtime/peer.c test/unit/runtime/turns.c
          test/unit/wire/vectors.c
  LINK weir_runtime Threads::Threads)
weir_test(unit_plane_server
  SOURCES test/unit/runtime/plane_server.c test/unit/runtime/turns.c test/unit/wire/vectors.c
  LINK weir_runtime)
weir_test(unit_events
  SOURCES test/unit/runtime/events.c test/unit/runtime/turns.c test/unit/wire/vectors.c
  LINK weir_runtime)
weir_test(unit_kv_follow SOURCES test/unit/runtime/kv_follow.c test/unit/runtime/turns.c
  LINK weir_runtime)
weir_test(unit_kv_join SOURCES test/unit/runtime/kv_join.c test/unit/runtime/turns.c LINK weir_runtime)
weir_test(unit_etcd_url SOURCES test/unit/runtime/etcd_url.c LINK weir_runtime)
weir_test(unit_kube_view SOURCES test/unit/runtime/kube_view.c LINK weir_runtime)
weir_test(unit_kube_config SOURCES test/unit/runtime/kube_config.c LINK weir_runtime)
weir_test(unit_runtime_kv_stream_core SOURCES test/unit/runtime/kv_stream_core.c LINK weir_runtime)
weir_test(unit_runtime_kv_stream_pub SOURCES test/unit/runtime/kv_stream_pub.c test/unit/net/nats_server.c LINK weir_runtime)
set_tests_properties(unit_runtime_kv_stream_pub PROPERTIES SKIP_RETURN_CODE 77)
weir_test(unit_runtime_spool SOURCES test/unit/runtime/spool.c LINK weir_runtime)
weir_test(unit_runtime_kv_stream_dump SOURCES test/unit/runtime/kv_stream_dump.c LINK weir_runtime)

weir_test(unit_net_loop SOURCES test/unit/net/loop.c LINK weir_net LABELS "unit;stress")
weir_test(unit_net_listen SOURCES test/unit/net/listen.c LINK weir_net)
weir_test(unit_net_dead_peer SOURCES test/unit/net/dead_peer.c LINK weir_net)
weir_test(unit_net_stream SOURCES test/unit/net/stream.c test/unit/net/echo.c test/unit/runtime/turns.c test/unit/net/pair.c
          LINK weir_net)
weir_test(unit_net_undelivered SOURCES test/unit/net/undelivered.c LINK weir_net)
weir_test(unit_net_tls SOURCES test/unit/net/tls.c test/unit/net/echo.c test/unit/runtime/turns.c test/unit/net/certs.c
          LINK weir_net OpenSSL::SSL LABELS "unit;stress")
weir_test(unit_net_zmq SOURCES test/unit/net/zmq.c LINK weir_net PkgConfig::ZMQ
          LABELS "unit;stress")
weir_test(unit_net_zmtp SOURCES test/unit/net/zmtp.c LINK weir_net)
weir_test(unit_net_nats SOURCES test/unit/net/nats.c test/unit/net/nats_server.c
          LINK weir_net PkgConfig::NATS LABELS "unit;stress")
set_tests_properties(unit_net_nats PROPERTIES SKIP_RETURN_CODE 77)

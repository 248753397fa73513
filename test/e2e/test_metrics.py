"""The frontend's metrics page beside that of a live Dynamo 1.6.1, and what comes and goes on it."""
import os
import re

from weir import total, until

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data")
TABLE = DATA + "/metrics-1.6.1.tsv"
# Labels of a component of a runtime: the frontend is none (docs/COMPATIBILITY.md).
OF_A_COMPONENT = {"dynamo_component", "dynamo_namespace", "worker_id"}
NOT_THERE = {
    "is counted by rank and by cause under weir_* names": [
        "dynamo_component_ckf_mutation_total", "dynamo_component_kv_cache_event_warnings",
        "dynamo_component_router_active_sequence_", "dynamo_component_router_kv_event_source_mismatch_workers",
        "dynamo_component_router_kv_zmq_ingress_batches_total", "dynamo_component_router_kv_zmq_ingress_lifecycle_total"],
    "there is no such thing here": [
        "dynamo_component_router_approximate_", "dynamo_component_router_kv_transfer_estimated_latency_seconds",
        "dynamo_component_router_shared_cache_", "dynamo_router_shared_cache_errors_total",
        "dynamo_router_overhead_shared_cache_query_ms", "dynamo_frontend_image_tokens_per_request",
        "dynamo_transport_tcp_accept_backoff_total"],
    "is a part of one step here, which the sum has": [
        "dynamo_router_overhead_indexer_find_matches_ms", "dynamo_router_overhead_seq_hashing_ms",
        "dynamo_frontend_stage_requests", "dynamo_request_plane_queue_seconds", "dynamo_request_plane_send_seconds",
        "dynamo_frontend_tokenizer_cache_cached_tokens_total", "dynamo_frontend_tokenizer_cache_uncached_tokens_total",
        "dynamo_component_router_non_max_overlap_selections_total", "dynamo_component_router_overlap_blocks_lost"],
    "comes with what it counts, in other tests": [
        "dynamo_frontend_model_migration_", "dynamo_frontend_model_cancellation_total", "dynamo_frontend_model_rejection_total",
        "dynamo_frontend_failures_total"],
}


def families(page):
    """name: (type, set of label names, bounds of the first series)"""
    out = {}
    for line in page.decode().splitlines():
        kind = re.match(r"# TYPE (\S+) (\S+)", line)
        if kind:
            name = kind.group(1)
            out[name] = (kind.group(2), set(), [])
            continue
        if line.startswith("#"):
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line.rsplit(" ", 1)[0]))
        bound = labels.pop("le", None)
        out[name][1].update(labels)
        if bound not in (None, "+Inf") and bound not in out[name][2]:
            out[name][2].append(bound)
    return out


def table(path):
    with open(path, encoding="ascii") as f:
        for line in f:
            if not line.startswith("#"):
                name, kind, labels, bounds = (line.rstrip("\n").split("\t") + [""] * 4)[:4]
                yield name, kind, set(labels.split()), [float(b) for b in bounds.split()]


def test_names_labels_and_buckets(pair):
    front = pair.front
    for i in range(4):
        assert front.chat(f"hello {i} " * 20, stream=i % 2 == 0, ignore_eos=True).status == 200
        assert front.complete(f"once {i} ", stream=i % 2 == 1).status == 200
    front.counted()
    until("the cache events to be counted", lambda: front.metric("dynamo_component_kv_cache_events_applied", status="ok"))
    until("their sources", lambda: front.metric("dynamo_component_router_kv_zmq_ingress_sources", state="active") == 2)
    page = families(front.get("/metrics").body)
    missing, different = [], []
    for name, kind, want, bounds in table(TABLE):
        if name not in page:
            if not name.startswith(tuple(p for group in NOT_THERE.values() for p in group)):
                missing.append(name)
            continue
        ours = page[name]
        if not want <= {"worker_id", "dp_rank", "worker_type"}:  # where worker_id is the component's
            want -= OF_A_COMPONENT
        if name.startswith("dynamo_component_"):
            want -= OF_A_COMPONENT
        if kind != ours[0] or not want <= ours[1] or bounds != [float(b) for b in ours[2]]:
            different.append((name, kind, ours[0], want - ours[1], bounds, ours[2]))
    assert not missing and not different, (missing, different)


def test_a_workers_page(fleet):
    """Beside that of a live Dynamo's mocker: same names, types, labels and bounds, and they count what was done."""
    mock = fleet.mocker("--data-parallel-size", "2", workers=2)
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    for i in range(6):
        assert front.chat(f"hello {i} " * 20, max_tokens=5, ignore_eos=True, stream=i % 2 == 0).status == 200
    mine = {"dynamo_component": "backend", "dynamo_namespace": "dynamo", "dynamo_endpoint": "generate"}

    def seen(name, **labels):
        return total(mock.metrics(), "dynamo_" + name, **labels)
    until("all requests to be over", lambda: seen("component_request_duration_seconds_count", **mine) == 6)
    page = families(mock.page())
    different = [(name, page.get(name)) for name, kind, labels, bounds in table(DATA + "/metrics-worker-1.6.1.tsv")
                 if name not in page or (kind, labels, bounds) != (*page[name][:2], [float(b) for b in page[name][2]])]
    assert not different, different

    def agrees():
        """A page that shows each request in all places: the frontend asks for the ranks' caches meanwhile."""
        got = mock.metrics()
        return got if total(got, "dynamo_component_requests_total") == total(got, "dynamo_work_handler_network_transit_seconds_count") \
            and total(got, "dynamo_component_inflight_requests") == total(got, "dynamo_work_handler_pool_active_tasks") \
            == total(got, "dynamo_engine_request") else None
    got = until("figures that agree", agrees)
    assert total(got, "dynamo_component_requests_total", **mine) == 6
    assert total(got, "dynamo_component_inflight_requests", **mine) == 0
    assert seen("component_request_bytes_total", **mine) > 6 * 100
    assert seen("component_response_bytes_total", **mine) > 6 * 5 * 20
    assert seen("component_uptime_seconds") > 0 and seen("work_handler_pool_capacity") == 10000
    for name, n in (("time_to_first_token", 6), ("inter_token_latency", 6 * 4), ("e2e_request_latency", 6)):
        assert total(got, f"vllm:{name}_seconds_count", model_name="m") == n, name
    assert {e for k in got for e in re.findall(r'^vllm:num_requests_running{engine="(\d)",model_name="m"}', k)} == {"0", "1"}
    # A caller that leaves, and a refusal.
    held = front.hold("held " * 50, max_tokens=100000, ignore_eos=True)
    until("it to be at work", lambda: seen("component_inflight_requests", **mine) == 1)
    held.close()
    until("it to be counted", lambda: seen("component_cancellation_total", **mine) == 1)
    until("it to be over", lambda: seen("component_inflight_requests", **mine) == 0)


def test_a_worker_that_has_no_room_says_so(fleet):
    """The client is told, too. (Failed before: 503, as if there were no worker, where Dynamo answers 529.)"""
    mock = fleet.mocker("--speedup-ratio", "1", "--decode-base-ms", "1000", env={"DYN_TCP_WORKER_POOL_SIZE": "1"})
    front = fleet.frontend().ready()
    first = front.hold("first", max_tokens=1000, ignore_eos=True)
    until("the first to be at work", lambda: total(mock.metrics(), "dynamo_work_handler_pool_active_tasks") == 1)
    second = front.chat("second")
    first.close()
    assert second.status == 529 and "overloaded" in second.body.decode()
    assert total(mock.metrics(), "dynamo_rejection_request_total") == total(mock.metrics(), "dynamo_work_handler_pool_capacity") == 1


def test_figures_after_traffic(pair):
    """What traffic moves is moved by it. (Failed before: decoding, the request plane and the last of each worker stood still.)"""
    front = pair.front
    names = ("dynamo_frontend_detokenize_token_count", "dynamo_frontend_detokenize_total_us", "dynamo_transport_tcp_bytes_sent_total",
             "dynamo_transport_tcp_bytes_received_total", "dynamo_component_router_inter_token_latency_seconds_count",
             "dynamo_component_router_kv_worker_reused_tokens_total", "dynamo_component_router_kv_selected_cached_prefix_tokens_total",
             "dynamo_component_router_kv_best_eligible_cached_prefix_tokens_total", "dynamo_frontend_event_loop_delay_seconds_count",
             "dynamo_component_uptime_seconds", "dynamo_router_overhead_scheduling_ms_count",
             "dynamo_frontend_tokenizer_latency_ms_count")
    before = {n: front.metric(n) for n in names}
    text = "the quick brown fox " * 30

    def moved():
        assert front.chat(text, max_tokens=40, ignore_eos=True).status == 200
        return all(front.metric(n) > before[n] for n in names)
    until("all of them to move", moved)
    workers = [str(i) for m in pair.mockers for i in m.ids]
    for name in ("dynamo_frontend_worker_active_decode_blocks", "dynamo_component_router_worker_registered"):
        key = "router_worker_id" if "registered" in name else "worker_id"
        assert sorted(re.findall(rf'^{name}{{{key}="(\d+)",dp_rank="0",worker_type="decode"}}', front.get("/metrics").body.decode(), re.M)) \
            == sorted(workers)
    # Without a queue, too.
    before = front.metric("dynamo_frontend_router_admission_received_total", policy_class="default", worker_type="decode")
    assert before > 0 and front.chat(text).status == 200
    assert front.metric("dynamo_frontend_router_admission_received_total", model="m") == before + 1
    pin = {"x-dynamo-worker-instance-id": workers[0]}
    assert front.chat(text, pin, max_tokens=40, ignore_eos=True).status == 200
    n = front.chat(text, pin).json()["usage"]["prompt_tokens"]
    until("its prompt", lambda: front.metric("dynamo_frontend_worker_last_input_sequence_tokens", worker_id=workers[0]) == n)
    assert front.metric("dynamo_frontend_worker_last_time_to_first_token_seconds", worker_id=workers[0]) > 0


def test_a_worker_that_leaves_takes_its_figures_along(fleet):
    """(Failed before: its last figures stayed, as if it worked on.)"""
    stays, leaves = fleet.mocker(), fleet.mocker("--speedup-ratio", "1", "--decode-base-ms", "20")
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    pin = {"backend_instance_id": leaves.ids[0]}

    def gap():
        """Tokens that a frontend without time has read at once lie together: those of another answer do not."""
        assert front.chat("some", max_tokens=4, ignore_eos=True, nvext=pin).status == 200
        return front.metric("dynamo_frontend_worker_last_inter_token_latency_seconds", worker_id=leaves.ids[0]) > 0.01
    until("the gap between its tokens", gap)
    held = front.hold("held " * 200, max_tokens=100000, ignore_eos=True, nvext=pin)
    blocks = "dynamo_frontend_worker_active_decode_blocks"
    until("it to be at work", lambda: front.metric(blocks, worker_id=leaves.ids[0]) > 0)
    leaves.kill()
    fleet.expired(leaves)
    until("it to be gone", lambda: str(leaves.ids[0]) not in front.get("/metrics").body.decode())
    held.close()
    assert f'{blocks}{{worker_id="{stays.ids[0]}"' in front.get("/metrics").body.decode()


def test_a_model_begins_with_so_many_workers(fleet):
    """--router-min-initial-workers. (Failed before: the option had no effect.)"""
    one = fleet.mocker()
    front = fleet.frontend("--router-mode", "kv", "--router-min-initial-workers", "2")
    front.wait_line(r"model m is served once it has 2 \(--router-min-initial-workers\)")
    assert front.chat().status == 503 and front.get("/v1/models").json()["data"] == []
    assert front.metric("dynamo_frontend_model_ready", model="m") == 0
    fleet.mocker()
    front.ready(workers=2)
    assert front.chat().status == 200 and front.metric("dynamo_frontend_model_ready", model="m") == 1
    seen = len(front.lines)
    assert one.stop() == 0
    front.wait_line("model m has 1 worker", seen)
    assert front.chat().status == 200  # at first only


def test_a_long_name_is_told_whole(fleet):
    """In a refusal (it read behind the end of its text), and in the labels of all metrics (one was cut inside of a character)."""
    name = "x" + "\u00fc" * 300
    fleet.mocker("--model-name", name)
    front = fleet.frontend("--router-mode", "kv", "--router-min-initial-workers", "2", "--router-queue-threshold", "1")
    front.wait_line("is served once it has 2")
    r = front.chat(model=name)
    assert r.status == 503 and r.json()["error"]["message"].startswith(f"Model `{name}` is not ready to serve requests yet. The")
    assert r.json()["error"]["message"].endswith(" Please retry shortly.")
    labels = re.findall(r'model="(x[^"]*)"', front.get("/metrics").body.decode())
    assert set(labels) == {name} and len(labels) > 10


def test_who_waits_stands_in_the_references_names(fleet):
    fleet.mocker("--speedup-ratio", "1", "--decode-base-ms", "1000")
    front = fleet.frontend("--router-mode", "kv", "--router-queue-threshold", "0", "--router-queue-decode-threshold", "0").ready()
    first = front.hold("first " * 50, max_tokens=1000, ignore_eos=True)
    requests, tokens = (f"dynamo_frontend_router_queue_pending_{w}" for w in ("requests", "isl_tokens"))
    until("the first to be at work", lambda: front.metric("dynamo_frontend_worker_active_decode_blocks") > 0)
    second = front.hold("second " * 50, max_tokens=1, ignore_eos=True)
    until("the second to wait", lambda: front.metric(requests, model="m", policy_class="default", worker_type="decode") == 1)
    assert front.metric(tokens, policy_class="default") > 300
    second.close()
    until("nobody to wait", lambda: front.metric(requests) == front.metric(tokens) == 0)
    first.close()

//! Dynamo's published KV index (crate dynamo-kv-router 1.6.1) on a record file of bench/kvindex.
//! usage: peers_kvindex FILE MAX_BLOCKS_PER_EVENT; prints one JSON line per back end.
//! Events are built before the clock starts; the clock stops when a flush is acknowledged.
use dynamo_kv_router::indexer::concurrent_radix_tree_compressed::ConcurrentRadixTreeCompressed;
use dynamo_kv_router::indexer::{RadixTree, SyncIndexer, ThreadPoolIndexer};
use dynamo_kv_router::protocols::*;
use std::time::Instant;

struct Work {
    words: Vec<u64>,
    bs: u32,
    name: String,
}

enum Record {
    Event(RouterEvent),
    Query(Vec<LocalBlockHash>, u64),
}

fn read(path: &str) -> Work {
    let bytes = std::fs::read(path).expect("readable record file");
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    let name = format!("{},{},{}", words[1], words[2], words[3]);
    Work { bs: words[1] as u32, name, words: words[8..].to_vec() }
}

fn event(worker: u64, id: &mut u64, data: KvCacheEventData) -> Record {
    *id += 1;
    Record::Event(RouterEvent::new(worker, KvCacheEvent { event_id: *id, data, dp_rank: 0 }))
}

fn records(w: &Work, max: usize) -> Vec<Record> {
    let (mut out, mut at, mut id) = (Vec::new(), 0, 0u64);
    while at < w.words.len() {
        let (kind, worker, n) =
            (w.words[at] & 255, w.words[at] >> 8 & 0xff_ffff, (w.words[at] >> 32) as usize);
        at += 1;
        match kind {
            1 | 2 => {
                let mut parent = None;
                if kind == 2 {
                    parent = Some(ExternalSequenceBlockHash(w.words[at]));
                    at += 1;
                }
                for chunk in w.words[at..at + 2 * n].chunks(2 * max) {
                    let blocks: Vec<_> = chunk
                        .chunks_exact(2)
                        .map(|b| KvCacheStoredBlockData {
                            block_hash: ExternalSequenceBlockHash(b[0]),
                            tokens_hash: LocalBlockHash(b[1]),
                            mm_extra_info: None,
                        })
                        .collect();
                    let last = blocks.last().map(|b| b.block_hash);
                    let data = KvCacheStoreData { parent_hash: parent, start_position: None, blocks };
                    out.push(event(worker, &mut id, KvCacheEventData::Stored(data)));
                    parent = last;
                }
                at += 2 * n;
            }
            3 => {
                for chunk in w.words[at..at + n].chunks(max) {
                    let block_hashes =
                        chunk.iter().map(|h| ExternalSequenceBlockHash(*h)).collect();
                    let data = KvCacheRemoveData { block_hashes };
                    out.push(event(worker, &mut id, KvCacheEventData::Removed(data)));
                }
                at += n;
            }
            _ => {
                let q = w.words[at..at + n].iter().map(|h| LocalBlockHash(*h)).collect();
                out.push(Record::Query(q, w.words[at + n]));
                at += n + 3;
            }
        }
    }
    out
}

fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(clock, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or("VmRSS: 0");
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

struct Split {
    events: Vec<RouterEvent>,
    queries: Vec<Vec<LocalBlockHash>>, // the second half
    ops: u64,
}

fn split(records: Vec<Record>) -> Split {
    let total = records.iter().filter(|r| matches!(r, Record::Query(..))).count();
    let (mut events, mut queries, mut ops, mut seen) = (Vec::new(), Vec::new(), 0u64, 0);
    for r in records {
        match r {
            Record::Event(e) => {
                ops += match &e.event.data {
                    KvCacheEventData::Stored(s) => s.blocks.len() as u64,
                    KvCacheEventData::Removed(r) => r.block_hashes.len() as u64,
                    KvCacheEventData::Cleared => 0,
                };
                events.push(e);
            }
            Record::Query(q, _) => {
                if seen >= total / 2 {
                    queries.push(q);
                }
                seen += 1;
            }
        }
    }
    Split { events, queries, ops }
}

/// What reading the clock costs; bench/kvindex takes it off too.
fn clock_overhead() -> f64 {
    let mut ns: Vec<u128> = (0..1001).map(|_| Instant::now().elapsed().as_nanos()).collect();
    ns.sort();
    ns[500] as f64 / 1000.0
}

struct Latency {
    cold: [f64; 3],
    hot: [f64; 3],
}

/// p50, p99 and p99.9 in microseconds; hot: a prompt's hashes are read before the clock starts, as if just computed.
fn quantiles(queries: &[Vec<LocalBlockHash>], ask: &mut impl FnMut(&[LocalBlockHash]) -> usize, hot: bool) -> [f64; 3] {
    let mut us: Vec<f64> = queries
        .iter()
        .map(|q| {
            if hot {
                std::hint::black_box(q.iter().fold(0, |sum, h| sum ^ h.0));
            }
            let t = Instant::now();
            std::hint::black_box(ask(q));
            t.elapsed().as_nanos() as f64 / 1000.0
        })
        .collect();
    us.sort_by(|a, b| a.total_cmp(b));
    let overhead = clock_overhead();
    [0.5, 0.99, 0.999].map(|q| (us[((us.len() - 1) as f64 * q) as usize] - overhead).max(0.0))
}

fn latency(queries: &[Vec<LocalBlockHash>], mut ask: impl FnMut(&[LocalBlockHash]) -> usize) -> Latency {
    quantiles(queries, &mut ask, false); // warms up
    Latency { cold: quantiles(queries, &mut ask, false), hot: quantiles(queries, &mut ask, true) }
}

fn report(w: &Work, max: usize, backend: &str, ops: u64, cpu: u64, wall: f64, l: Latency) {
    println!(
        "{{\"bench\":\"kvindex_peer\",\"backend\":\"{backend}\",\"cell\":\"{}\",\"events\":{max},\"ops\":{ops},\"cpu_ns_per_op\":{:.2},\"wall_mops\":{:.1},\"lookup_p50_us\":{:.3},\"lookup_p99_us\":{:.3},\"lookup_p999_us\":{:.3},\"hot_p50_us\":{:.3},\"hot_p99_us\":{:.3},\"rss_mb\":{:.0}}}",
        w.name, cpu as f64 / ops as f64, ops as f64 / wall / 1e6, l.cold[0], l.cold[1], l.cold[2], l.hot[0], l.hot[1], rss_mb()
    );
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let w = read(&args[1]);
    let max: usize = args[2].parse().expect("blocks per event");
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();

    let s = split(records(&w, max));
    let pool = ThreadPoolIndexer::new(ConcurrentRadixTreeCompressed::new(), 1, w.bs);
    let (t, p0, f0) = (Instant::now(), cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID), cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID));
    for e in s.events {
        pool.enqueue_event(e).expect("accepted");
    }
    rt.block_on(pool.flush_and_wait()).expect("flushed");
    let feeder = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - f0;
    let cpu = cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID) - p0 - feeder;
    let wall = t.elapsed().as_secs_f64();
    let l = latency(&s.queries, |q| pool.backend().find_matches(q, false).scores.len());
    report(&w, max, "crtc", s.ops, cpu, wall, l);
    drop(pool);

    let s = split(records(&w, max));
    let mut tree = RadixTree::new();
    let (t, f0) = (Instant::now(), cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID));
    for e in s.events {
        let _ = tree.apply_event(e);
    }
    let (cpu, wall) = (cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - f0, t.elapsed().as_secs_f64());
    let l = latency(&s.queries, |q| tree.find_matches(q.to_vec(), false).scores.len());
    report(&w, max, "radix_tree", s.ops, cpu, wall, l);
}

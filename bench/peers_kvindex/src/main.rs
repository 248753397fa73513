//! Dynamo's published KV index (crate dynamo-kv-router 1.6.1) on a record file of bench/kvindex.
//! usage: peers_kvindex FILE MAX_BLOCKS_PER_EVENT; prints one JSON line per back end.
//! The clock runs while built events are applied, and stops when a flush is acknowledged.
use dynamo_kv_router::indexer::concurrent_radix_tree_compressed::ConcurrentRadixTreeCompressed;
use dynamo_kv_router::indexer::{RadixTree, SyncIndexer, ThreadPoolIndexer};
use dynamo_kv_router::protocols::*;
use std::collections::VecDeque;
use std::time::Instant;

struct Work {
    words: Vec<u64>,
    bs: u32,
    name: String,
}

enum Record {
    Event(RouterEvent),
    Query(Vec<LocalBlockHash>),
}

fn read(path: &str) -> Work {
    let bytes = std::fs::read(path).expect("readable record file");
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect();
    let name = format!("{},{},{}", words[1], words[2], words[3]);
    Work { bs: words[1] as u32, name, words: words[8..].to_vec() }
}

/// The records one after the other; one record of the file is several where an event holds at most `max` blocks.
struct Records<'a> {
    words: &'a [u64],
    max: usize,
    at: usize,
    id: u64,
    left: VecDeque<Record>, // of the file's record before `at`
}

impl<'a> Records<'a> {
    fn new(w: &'a Work, max: usize) -> Self {
        Records { words: &w.words, max, at: 0, id: 0, left: VecDeque::new() }
    }

    fn event(&mut self, worker: u64, data: KvCacheEventData) {
        self.id += 1;
        let event = KvCacheEvent { event_id: self.id, data, dp_rank: 0 };
        self.left.push_back(Record::Event(RouterEvent::new(worker, event)));
    }

    fn read(&mut self) {
        let (words, head) = (self.words, self.words[self.at]);
        let (kind, worker, n) = (head & 255, head >> 8 & 0xff_ffff, (head >> 32) as usize);
        self.at += 1;
        match kind {
            1 | 2 => {
                let mut parent = None;
                if kind == 2 {
                    parent = Some(ExternalSequenceBlockHash(words[self.at]));
                    self.at += 1;
                }
                for chunk in words[self.at..self.at + 2 * n].chunks(2 * self.max) {
                    let blocks: Vec<_> = chunk
                        .chunks_exact(2)
                        .map(|b| KvCacheStoredBlockData {
                            block_hash: ExternalSequenceBlockHash(b[0]),
                            tokens_hash: LocalBlockHash(b[1]),
                            mm_extra_info: None,
                        })
                        .collect();
                    let last = blocks.last().map(|b| b.block_hash);
                    let data =
                        KvCacheStoreData { parent_hash: parent, start_position: None, blocks };
                    self.event(worker, KvCacheEventData::Stored(data));
                    parent = last;
                }
                self.at += 2 * n;
            }
            3 => {
                for chunk in words[self.at..self.at + n].chunks(self.max) {
                    let block_hashes =
                        chunk.iter().map(|h| ExternalSequenceBlockHash(*h)).collect();
                    self.event(
                        worker,
                        KvCacheEventData::Removed(KvCacheRemoveData { block_hashes }),
                    );
                }
                self.at += n;
            }
            _ => {
                self.left.push_back(Record::Query(
                    words[self.at..self.at + n].iter().map(|h| LocalBlockHash(*h)).collect(),
                ));
                self.at += n + 3;
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.left.is_empty() && self.at < self.words.len() {
            self.read();
        }
        self.left.pop_front()
    }
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

fn blocks(e: &RouterEvent) -> u64 {
    match &e.event.data {
        KvCacheEventData::Stored(s) => s.blocks.len() as u64,
        KvCacheEventData::Removed(r) => r.block_hashes.len() as u64,
        KvCacheEventData::Cleared => 0,
    }
}

/// Hands all events to `apply`, at most CHUNK at a time: single-block events of a whole trace have no room in memory at once.
/// Returns the block-ops.
fn feed(w: &Work, max: usize, mut apply: impl FnMut(Vec<RouterEvent>)) -> u64 {
    const CHUNK: usize = 1 << 18;
    let mut ops = 0;
    let mut chunk = Vec::with_capacity(CHUNK);
    for r in Records::new(w, max) {
        if let Record::Event(e) = r {
            ops += blocks(&e);
            chunk.push(e);
            if chunk.len() == CHUNK {
                apply(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)));
            }
        }
    }
    apply(chunk);
    ops
}

/// The second half of the queries.
fn queries(w: &Work) -> Vec<Vec<LocalBlockHash>> {
    let mut all: Vec<_> = Records::new(w, usize::MAX / 2)
        .filter_map(|r| if let Record::Query(q) = r { Some(q) } else { None })
        .collect();
    let half = all.len() / 2;
    all.split_off(half)
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
fn quantiles(
    queries: &[Vec<LocalBlockHash>],
    ask: &mut impl FnMut(&[LocalBlockHash]) -> usize,
    hot: bool,
) -> [f64; 3] {
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

fn latency(
    queries: &[Vec<LocalBlockHash>],
    mut ask: impl FnMut(&[LocalBlockHash]) -> usize,
) -> Latency {
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

    let asked = queries(&w);

    let pool = ThreadPoolIndexer::new(ConcurrentRadixTreeCompressed::new(), 1, w.bs);
    let (mut cpu, mut wall) = (0, 0.0);
    let ops = feed(&w, max, |events| {
        let (t, p0, f0) = (
            Instant::now(),
            cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
            cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID),
        );
        for e in events {
            pool.enqueue_event(e).expect("accepted");
        }
        rt.block_on(pool.flush_and_wait()).expect("flushed");
        let feeder = cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - f0;
        cpu += cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID) - p0 - feeder;
        wall += t.elapsed().as_secs_f64();
    });
    let l = latency(&asked, |q| pool.backend().find_matches(q, false).scores.len());
    report(&w, max, "crtc", ops, cpu, wall, l);
    drop(pool);

    let mut tree = RadixTree::new();
    let (mut cpu, mut wall) = (0, 0.0);
    let ops = feed(&w, max, |events| {
        let (t, f0) = (Instant::now(), cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID));
        for e in events {
            let _ = tree.apply_event(e);
        }
        cpu += cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID) - f0;
        wall += t.elapsed().as_secs_f64();
    });
    let l = latency(&asked, |q| tree.find_matches(q.to_vec(), false).scores.len());
    report(&w, max, "radix_tree", ops, cpu, wall, l);
}

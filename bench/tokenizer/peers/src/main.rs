// The peers of bench/tokenizer: fastokens, the official tokenizers crate and the decode stream of its next release.
// usage: peer fastokens|hf|newest TOKENIZER.JSON   commands on standard input and answers as bench_tokenizer has them.
use std::io::{BufRead, Read, Write};
use std::path::Path;

fn cpu() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn prompts(path: &str) -> Vec<String> {
    let mut all = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut all).unwrap();
    let (mut at, mut out) = (0, Vec::new());
    while at < all.len() {
        let n = u32::from_ne_bytes(all[at..at + 4].try_into().unwrap()) as usize;
        out.push(String::from_utf8(all[at + 4..at + 4 + n].to_vec()).unwrap());
        at += 4 + n;
    }
    out
}

enum Engine {
    None,
    Fastokens(fastokens::Tokenizer),
    Hf(tokenizers::Tokenizer),
    Newest(newest::pipeline::PipelineTokenizer),
}

impl Engine {
    fn load(name: &str, path: &str) -> Engine {
        match name {
            "fastokens" => Engine::Fastokens(fastokens::Tokenizer::from_file(Path::new(path)).unwrap()),
            "hf" => Engine::Hf(tokenizers::Tokenizer::from_file(path).unwrap()),
            _ => Engine::Newest(newest::from_json(&newest::canonicalize_file(path).unwrap()).unwrap()),
        }
    }

    fn encode(&self, s: &str) -> Vec<u32> {
        match self {
            Engine::Fastokens(t) => t.encode(s).unwrap(),
            Engine::Hf(t) => t.encode(s, false).unwrap().get_ids().to_vec(),
            _ => panic!("no encoder"),
        }
    }

    /// Bytes of all chunks.
    fn stream(&self, ids: &[u32]) -> usize {
        let mut bytes = 0;
        match self {
            Engine::Hf(t) => {
                let mut s = t.decode_stream(true);
                for id in ids {
                    bytes += s.step(*id).unwrap().map_or(0, |c| c.len());
                }
            }
            Engine::Newest(t) => {
                let mut s = t.decode_stream(true);
                for id in ids {
                    bytes += s.step(*id).unwrap().map_or(0, |c| c.len());
                }
            }
            _ => panic!("no stream"),
        }
        bytes
    }
}

fn pass(engine: &Engine, texts: &mut dyn Iterator<Item = &String>) -> String {
    let (mut tokens, mut bytes, mut hash, mut total) = (0, 0, 0xcbf29ce484222325u64, 0.0);
    for t in texts {
        let begin = cpu();
        let ids = engine.encode(t);
        total += cpu() - begin;
        bytes += t.len();
        tokens += ids.len();
        for id in &ids {
            hash = (hash ^ *id as u64).wrapping_mul(0x100000001b3);
        }
    }
    format!("{{\"s\": {total:.9}, \"bytes\": {bytes}, \"tokens\": {tokens}, \"ids\": \"{hash:016x}\"}}")
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(|a, b| a.partial_cmp(b).unwrap());
    v[v.len() / 2]
}

/// The same text as bench_tokenizer's: prompts up to so many bytes.
fn long(engine: &Engine, texts: &[String], repeats: usize, bytes: usize) -> String {
    let mut text = String::new();
    for t in texts {
        if text.len() < bytes {
            text += t;
        }
    }
    let mut n = 0;
    let times = (0..repeats)
        .map(|_| {
            let begin = cpu();
            n = engine.encode(&text).len();
            cpu() - begin
        })
        .collect();
    format!("{{\"s\": {:.9}, \"tokens\": {n}, \"bytes\": {}}}", median(times), text.len())
}

fn decode(engine: &Engine, ids: &[u32], repeats: usize) -> String {
    let mut bytes = 0;
    let times = (0..repeats)
        .map(|_| {
            let begin = cpu();
            bytes = engine.stream(ids);
            (cpu() - begin) / ids.len() as f64
        })
        .collect();
    format!("{{\"s\": {:.12}, \"tokens\": {}, \"bytes\": {bytes}}}", median(times), ids.len())
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (mut engine, mut texts, mut ids) = (Engine::None, Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let arg = |i: usize| words.get(i).and_then(|w| w.parse::<usize>().ok()).unwrap_or(usize::MAX);
        let answer = match words[0] {
            "corpus" => {
                texts = prompts(line.split_once(' ').unwrap().1);
                format!("{{\"prompts\": {}}}", texts.len())
            }
            "load" => {
                drop(std::mem::replace(&mut engine, Engine::None)); // its memory is not the next one's
                let begin = cpu();
                let fresh = Engine::load(&a[1], &a[2]);
                let spent = cpu() - begin;
                engine = fresh;
                if a[1] != "newest" {
                    engine.encode("warm up");
                }
                format!("{{\"s\": {spent:.9}}}")
            }
            "cache" => {
                if let Engine::Fastokens(t) = &mut engine {
                    t.enable_segment_cache(arg(1));
                }
                "{}".into()
            }
            "pass" => pass(&engine, &mut texts.iter().take(arg(1))),
            "same" => pass(&engine, &mut std::iter::repeat(&texts[0]).take(arg(1))),
            "long" => long(&engine, &texts, arg(1), arg(2)),
            // Ids of the first prompt for an engine without an encoder.
            "ids" => {
                ids = words[1..].iter().map(|w| w.parse().unwrap()).collect();
                "{}".into()
            }
            "decode" => {
                if let Engine::Hf(_) = engine {
                    ids = engine.encode(&texts[0]);
                }
                decode(&engine, &ids, arg(1))
            }
            _ => panic!("unknown command"),
        };
        println!("{answer}");
        std::io::stdout().flush().unwrap();
    }
}

// The peers of bench/tokenizer: the same measurement with fastokens and with the official tokenizers crate.
// usage: peer fastokens|hf TOKENIZER.JSON CORPUS   prints one JSON line per figure, as bench_tokenizer does.
use std::io::Read;

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

fn pass(encode: &dyn Fn(&str) -> Vec<u32>, texts: &[String]) -> (f64, usize, u64, f64) {
    let (mut tokens, mut hash, mut times) = (0, 0xcbf29ce484222325u64, Vec::new());
    let mut total = 0.0;
    for t in texts {
        let begin = cpu();
        let ids = encode(t);
        let spent = cpu() - begin;
        total += spent;
        times.push(spent);
        tokens += ids.len();
        for id in &ids {
            hash = (hash ^ *id as u64).wrapping_mul(0x100000001b3);
        }
    }
    times.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let bytes: usize = texts.iter().map(|t| t.len()).sum();
    (bytes as f64 / total / 1e6, tokens, hash, times[times.len() / 2] * 1e3)
}

fn load(engine: &str, path: &str) -> Box<dyn Fn(&str) -> Vec<u32>> {
    if engine == "fastokens" {
        let t = fastokens::Tokenizer::from_file(std::path::Path::new(path)).unwrap();
        Box::new(move |s| t.encode(s).unwrap())
    } else {
        let t = tokenizers::Tokenizer::from_file(path).unwrap();
        Box::new(move |s| t.encode(s, false).unwrap().get_ids().to_vec())
    }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(|a, b| a.partial_cmp(b).unwrap());
    v[v.len() / 2]
}

// As bench_tokenizer does: fresh tokenizers for the first pass, which is only once the first (the slow peer has one round).
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let texts = prompts(&a[3]);
    let name = std::path::Path::new(&a[3]).file_stem().unwrap().to_str().unwrap().to_owned();
    let slow = a[1] == "hf";
    let same: Vec<String> = (0..if slow { 5 } else { 200 }).map(|_| texts[0].clone()).collect();
    let (mut loads, mut firsts, mut p50s, mut agains, mut repeats) = (vec![], vec![], vec![], vec![], vec![]);
    let mut last = (0.0, 0, 0, 0.0);
    for _ in 0..if slow { 1 } else { 5 } {
        let begin = cpu();
        let encode = load(&a[1], &a[2]);
        loads.push((cpu() - begin) * 1e3);
        encode("warm up");
        last = pass(&*encode, &texts);
        firsts.push(last.0);
        p50s.push(last.3);
        if !slow {
            pass(&*encode, &texts);
            last = pass(&*encode, &texts);
        }
        agains.push(last.0);
        repeats.push(pass(&*encode, &same).0);
    }
    println!(
        "{{\"engine\": \"{}\", \"corpus\": \"{}\", \"first_mb_s\": {:.1}, \"first_p50_ms\": {:.4}, \"again_mb_s\": {:.1}, \"same_mb_s\": {:.1}, \"tokens\": {}, \"ids\": \"{:016x}\", \"load_cpu_ms\": {:.1}}}",
        a[1], name, median(firsts), median(p50s), median(agains), median(repeats), last.1, last.2, median(loads)
    );
}

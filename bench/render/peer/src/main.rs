//! minijinja on the request of bench/render/run.py: `peer-render TEMPLATE [RUNS] < request.json`, one JSON line. The
//! template is compiled once; a rendering begins with the request's JSON, as a server's does.
use std::io::Read;

use minijinja::{context, Environment, Error, ErrorKind, Value};

/// CPU time of this process, as the other programs count.
fn cpu_us() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: peer-render TEMPLATE [RUNS] < request.json");
    let n_runs: usize = std::env::args().nth(2).map_or(5, |n| n.parse().expect("RUNS"));
    let source = std::fs::read_to_string(path).expect("template");
    let mut request = String::new();
    std::io::stdin().read_to_string(&mut request).expect("request");

    let mut env = Environment::new();
    env.set_trim_blocks(true);
    env.set_lstrip_blocks(true);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, text))
    });
    env.add_template("chat", &source).expect("template");
    let template = env.get_template("chat").unwrap();

    let render = || {
        let value: serde_json::Value = serde_json::from_str(&request).expect("JSON");
        template
            .render(context! {
                messages => Value::from_serialize(&value["messages"]),
                tools => Value::from_serialize(&value["tools"]),
                add_generation_prompt => true,
            })
            .expect("render")
    };
    let bytes = render().len();
    let mut runs: Vec<f64> = (0..n_runs)
        .map(|_| {
            let (begin, mut n) = (cpu_us(), 0u64);
            while cpu_us() - begin < 200_000.0 {
                for _ in 0..64 {
                    std::hint::black_box(render());
                }
                n += 64;
            }
            (cpu_us() - begin) / n as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!(
        "{{\"bench\":\"render\",\"peer\":\"minijinja\",\"request_bytes\":{},\"prompt_bytes\":{},\"us\":{:.2},\"us_min\":{:.2},\"us_max\":{:.2}}}",
        request.len(), bytes, runs[n_runs / 2], runs[0], runs[n_runs - 1]
    );
}

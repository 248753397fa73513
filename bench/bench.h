/* `weir bench`: load generator for OpenAI servers. */
#ifndef WEIR_BENCH_BENCH_H
#define WEIR_BENCH_BENCH_H

/* argv[0] is the command word. Returns the exit status: 0, 1 (cannot run) or 2 (more errors than
 * --max-error-share, or nothing measured). */
int weir_bench_main(int argc, char **argv);

#endif

/* `weir replay`: routing modes side by side on a trace, in one process. */
#ifndef WEIR_BENCH_REPLAY_H
#define WEIR_BENCH_REPLAY_H

/* argv[0] is the command word. Returns the exit status: 0 or 1 (cannot run). */
int weir_replay_main(int argc, char **argv);

#endif

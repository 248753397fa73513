/* `weir mocker`: simulated engines that join a deployment as real workers do. */
#ifndef WEIR_WORKER_MOCKER_H
#define WEIR_WORKER_MOCKER_H

/* argv[0] is the command word. Returns the exit status. */
int weir_mocker_main(int argc, char **argv);

#endif

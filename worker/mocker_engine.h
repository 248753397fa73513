/* `weir mocker --engine`: a simulated HTTP engine as a process. */
#ifndef WEIR_WORKER_MOCKER_ENGINE_H
#define WEIR_WORKER_MOCKER_ENGINE_H

#include "runtime/options_mocker.h"
#include "worker/mock_worker.h"

/* Runs until SIGTERM or SIGINT; the exit status. `engine` and `faults` are filled from the options.
 */
int weir_mocker_engine_run(const struct weir_mocker_options *options,
                           const struct weir_engine_config *engine,
                           struct weir_mock_faults *faults);

#endif

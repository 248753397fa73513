#include "base/log.h"
#include "worker/mock_worker.h"

#include <unistd.h>

enum weir_mock_fault weir_mock_fault(struct weir_mock_faults *f) {
    if (f->exit_after >= 0 && f->n_requests++ >= (uint64_t)f->exit_after) {
        WEIR_LOG(WEIR_LOG_WARN, "mocker", "--exit-after: leaving without a word");
        _exit(1);
    }
    double dice = weir_rng_unit(&f->rng);
    return dice < f->hang_rate                  ? WEIR_MOCK_FAULT_HANG
           : dice < f->hang_rate + f->fail_rate ? WEIR_MOCK_FAULT_FAIL
                                                : WEIR_MOCK_FAULT_NONE;
}

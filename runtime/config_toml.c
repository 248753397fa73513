/* runtime.toml as a source. */
#include "runtime/config_priv.h"

void config_read_toml(struct config_load *load) {
    (void)load;
}

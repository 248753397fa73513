/* `weir global-router`. */
#ifndef WEIR_GLOBAL_ROUTER_GLOBAL_ROUTER_H
#define WEIR_GLOBAL_ROUTER_GLOBAL_ROUTER_H

/* argv[0] is the command's name; returns the exit status. */
int weir_global_router_main(int argc, char **argv);

#endif

/* `weir router`: the router of one worker endpoint as a process of its own. */
#ifndef WEIR_ROUTER_LOCAL_ROUTER_H
#define WEIR_ROUTER_LOCAL_ROUTER_H

/* argv[0] is the command's name; returns the exit status. */
int weir_local_router_main(int argc, char **argv);

#endif

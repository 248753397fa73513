/* `weir frontend`: the OpenAI HTTP API in front of discovered workers, with the router inside. */
#ifndef WEIR_FRONTEND_FRONTEND_H
#define WEIR_FRONTEND_FRONTEND_H

/* argv[0] is the command word. Returns the exit status. */
int weir_frontend_main(int argc, char **argv);

#endif

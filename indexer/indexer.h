/* `weir indexer`: the KV index as a service. */
#ifndef WEIR_INDEXER_INDEXER_H
#define WEIR_INDEXER_INDEXER_H

/* argv[0] is the command word. Returns the exit status. */
int weir_indexer_main(int argc, char **argv);

#endif

/* Small commands over pure modules. Each returns the exit status; argv[0] is the command's name. */
#ifndef WEIR_TOOLS_TOOLS_H
#define WEIR_TOOLS_TOOLS_H

int weir_parse_main(int argc, char **argv);
int weir_tokenize_main(int argc, char **argv);
int weir_render_main(int argc, char **argv);

#endif

/* The first source of this folder; replaced by the real ones. */
typedef int weir_worker_placeholder;

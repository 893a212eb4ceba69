#include "sscases.h"
void measure(void) { }

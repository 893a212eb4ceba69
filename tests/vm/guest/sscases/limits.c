#include "sscases.h"
void cases_limits(void) { }

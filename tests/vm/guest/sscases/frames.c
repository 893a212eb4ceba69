#include "sscases.h"
void cases_frames(void) { }

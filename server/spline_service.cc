#include "server/spline_service.h"

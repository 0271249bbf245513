// What c10d/ProcessGroupGloo.hpp wants of gloo, which libtorch contains but whose headers its wheel lacks. The five
// files of this folder declare that and no more; every definition is libtorch's.
#pragma once

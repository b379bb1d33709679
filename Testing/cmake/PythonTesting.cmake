# A test that Slicer would run; here it is only registered, so that its name can be listed.
function(slicer_add_python_unittest)
  cmake_parse_arguments(arg "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${arg_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest: there is no '${arg_SCRIPT}'")
  endif()
  get_filename_component(name ${arg_SCRIPT} NAME_WE)
  add_test(NAME py_${arg_TESTNAME_PREFIX}${name} COMMAND ${CMAKE_COMMAND} -E echo "runs inside Slicer")
endfunction()

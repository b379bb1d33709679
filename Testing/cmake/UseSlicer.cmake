set(EXTENSION_NAME ${PROJECT_NAME})

include(CTest) # brings the option BUILD_TESTING
include(${CMAKE_CURRENT_LIST_DIR}/ScriptedModule.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/PythonTesting.cmake)

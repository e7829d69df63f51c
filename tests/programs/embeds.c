/* A program that is no Python by its name and has libpython in it: runs the script that is its argument.
   What it calls is declared here, as a machine may have the library without its headers. */
#include <stdio.h>

void Py_Initialize(void);
int Py_FinalizeEx(void);
int PyRun_SimpleFile(FILE *file, const char *name);

int main(int argc, char **argv)
{
	FILE *script = argc == 2 ? fopen(argv[1], "r") : NULL;

	if (!script)
		return 2;
	Py_Initialize();
	int failed = PyRun_SimpleFile(script, argv[1]);
	return Py_FinalizeEx() || failed;
}

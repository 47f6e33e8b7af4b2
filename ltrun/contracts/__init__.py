"""Contracts: checks that every part, option and preset passes, in ltrun and in packages of its users.

`ltrun check PACKAGE` runs them on a package, tests/contracts on ltrun itself. `subjects` chooses the contracts of a package,
part or option. Each other module holds the checks of one kind of subject; a check that fails raises BrokenContract.
"""

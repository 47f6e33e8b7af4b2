"""Contracts: what every part, option and preset keeps to, in ltrun and in packages of a user's own.

`ltrun check PACKAGE` runs them on a package, tests/contracts on the tree. `subjects` says which contracts fit a subject; a
module for each kind of subject has the contracts as functions, which raise BrokenContract.
"""

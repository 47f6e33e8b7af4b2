"""Contracts: what every part, option and preset keeps to, in ltrun and in packages of a user's own.

`ltrun check PACKAGE` runs them on a package, tests/contracts on the tree. `of_a_part`, `of_an_option` and their like in
`ltrun.contracts.subjects` yield the contracts that fit a subject.
"""

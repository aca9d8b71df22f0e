def test_x(run_program, stitch):
    e = run_program(integrations=[stitch])
    for m in e.made: print(m)
    print(e.outputs)
    e = run_program(integrations=[stitch], unknown_passwords=True)
    for m in e.made: print(m)
    print(e.outputs)

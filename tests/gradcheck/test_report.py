from funcnet.gradcheck.report import shown_path


def test_a_line_of_a_notebook_has_no_temporary_path():
    assert shown_path("/somewhere/ipykernel_77/1234.py") == "cell"
    assert shown_path(__file__).endswith("test_report.py")

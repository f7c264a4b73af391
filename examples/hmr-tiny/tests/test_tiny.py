from hmr_core.testing import check_model


def test_the_contract():
    check_model("tiny-cnn")
